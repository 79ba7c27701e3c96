"""How the lab's tests are run: which cluster serves whom, what a failure leaves behind, and what a run saw.

`python -m tests.lab.runner` starts pytest with two workers, each with one cluster at a time. `claims` gives them their
numbers, `choice` orders and selects tests, `evidence` makes a failure's archive, `results` keeps docs/lab-results.md.
"""
