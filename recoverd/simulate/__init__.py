"""A model cluster: quorum, static pods, crash loops, watches, reboots and a bastion that may be blind, for drills,
property tests and crash tests.

It behaves as the real lab was seen to behave (`tests/lab`, comments at each rule). It carries out
`recoverd.model.operations` as data and never reads shell text. One module a subject: `hosts` machines and files,
`kubelet` static pods, `etcd` members and quorum, `api` API servers and node objects, `nodes` watches, pods, agents and
service rules, `network` who reaches whom; `cluster` puts them together, `faults` breaks them, `look` and `netlook` are
what the bastion sees, `act` and `act_nodes` what it does, `world` is the engine's `World` over it, `clock` virtual
time, `stage` the daemon's own loop on it, `script` the language of the stories.
"""
