"""Training: the loop, optimisation, checkpoints, the run folder, the log.

Nothing heavy is imported here; `regard.train.run.train(recipe)` is the entrance.
"""
