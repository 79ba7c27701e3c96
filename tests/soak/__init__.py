"""Random stories over the model cluster, held against what was really done to it:
`make soak-model SECONDS=n SEED=m`.
"""
