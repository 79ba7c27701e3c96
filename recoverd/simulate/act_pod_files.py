"""What is done about the files that static pods name, on the model."""

from __future__ import annotations

from recoverd.model.file_operations import KeepPodFiles, PutBackPodFile
from recoverd.model.operations import sha256
from recoverd.model.plan import StepResult
from recoverd.simulate.act_host import unwritten
from recoverd.simulate.carry import Carry, hand


def _not_kept(o: KeepPodFiles, at: Carry) -> bool:
    return any(f"{o.copies}/{digest}" not in at.machine.files for digest in o.digests)


@hand(KeepPodFiles, lacking=_not_kept)
def keep(o: KeepPodFiles, at: Carry) -> StepResult:
    files = at.machine.files
    for path, digest in zip(o.paths, o.digests, strict=True):
        if sha256(files.get(path, "")) != digest:
            return at.refused(f"{path} is not what it was when it was looked at, so it is not copied")
        files[f"{o.copies}/{digest}"] = files[path]
    return StepResult(True, f"{o.title} on {at.name}: done")


@hand(PutBackPodFile, lacking=unwritten)
def put_back(o: PutBackPodFile, at: Carry) -> StepResult:
    files, there = at.machine.files, at.machine.files.get(o.path)
    if not unwritten(o, at):
        return StepResult(True, f"{o.title} on {at.name} had been done already", already_done=True)
    copy = files.get(f"{o.copies}/{o.sha256}")
    if copy is None:
        return at.refused(f"there is no copy of {o.path} in {o.copies} any more: put it back from a backup")
    if ("" if there is None else sha256(there)) != o.before:
        return at.refused(f"{o.path} is not what it was when the plan was made")
    if o.keep and there is not None:
        files.setdefault(o.keep, there)
    files[o.path], at.machine.written[o.path] = copy, at.now
    return StepResult(True, f"{o.title} on {at.name}: done")
