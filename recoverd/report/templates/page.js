"use strict";
// The page is whole without this: it only fetches itself anew when the daemon says that something has changed.
(() => {
  let busy = false, again = false;
  const told = document.getElementById("live");
  async function renew() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = new Map([...document.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
      for (const d of fresh.querySelectorAll("details[id]")) if (open.has(d.id)) d.open = open.get(d.id);
      for (const part of ["seen", "all"]) document.getElementById(part).replaceWith(fresh.getElementById(part));
      document.title = fresh.title;
      document.body.dataset.renewed = Number(document.body.dataset.renewed || 0) + 1;
      told.textContent = "live";
      told.className = "good";
    } catch (error) {
      told.textContent = "recoverd does not answer: what stands here is old";
      told.className = "bad";
    }
    busy = false;
    if (again) { again = false; renew(); }
  }
  function listen() {
    const events = new EventSource("events");
    events.addEventListener("changed", renew);
    events.onerror = () => {
      told.textContent = "recoverd does not answer: what stands here is old";
      told.className = "bad";
      if (events.readyState === EventSource.CLOSED) { // refused, as when too many read already: ask every so often
        told.textContent = "not live, fetched anew every 15 s";
        told.className = "warn";
        setTimeout(() => { renew(); listen(); }, 15000);
      }
    };
  }
  listen();
  setInterval(renew, 30000);
})();
