"""Random faults, kills and people on a real lab cluster, with what came of each counted:
`make soak-lab MINUTES=30 SEED=m`.
"""
