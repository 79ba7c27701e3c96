"""The witnesses of what is found of etcd's members: what they say of themselves and of each other. Pure."""

from __future__ import annotations

from recoverd.diagnose.absence_of_nodes import lists
from recoverd.diagnose.question import Question
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import Observation, Unseen


def leader(question: Question) -> str:
    """A member of etcd said itself, in this sweep, that there is a leader: the member list and the alarms
    are those of a cluster at work.
    """
    if question.diagnosis.roll and question.diagnosis.roll.elsewhere:
        return lists(question)  # an API server that lists stands on an etcd that has one
    return "" if led(question.observation) else "no etcd member was seen with a leader"


def holding(question: Question) -> str:
    """A member was seen to serve the data of before: a directory that is not empty, and a leader, are as well
    those of a cluster begun anew.
    """
    roll = question.diagnosis.roll
    return "" if roll and roll.holding else "no etcd member was seen to hold the data of this cluster"


def member(question: Question) -> str:
    """This very member was seen to serve under a leader, or the list of those that do holds no such member any more."""
    if why := leader(question):
        return why
    view = question.observation.etcd.get(question.host)
    if isinstance(view, EtcdView) and view.has_leader and not view.remembered:
        return ""
    roll = question.diagnosis.roll
    if question.host not in question.observation.etcd and roll is None:
        return ""
    if roll is not None and (
        question.subject in roll.serving or (roll.listed is not None and question.subject not in roll.listed)
    ):
        return ""
    said = f": {view.reason}" if isinstance(view, Unseen) else ""
    return f"the etcd member {question.subject} was not seen to serve, and it is in the member list{said}"


def vote(question: Question) -> str:
    """The member has its vote, or is listed no more: one whose etcd or machine has only just started, or is not seen,
    may be joining, and is what it was.
    """
    roll = question.diagnosis.roll
    return f"{question.subject} is listed as a learner still" if roll and question.subject in roll.learners else ""


def led(observation: Observation) -> bool:
    return any(isinstance(v, EtcdView) and v.has_leader and not v.remembered for v in observation.etcd.values())
