"""What drives one machine: the loop between the world and the state machine, and the journal
before everything that is done.
"""
