"""MLflow: what a run holds, the logged model, and promotion.

`connection` reaches a store, `locations` finds a logged model's files, `digest` names them, `flavor` logs
and loads a `Classifier`, `tracking` fills a run. `promotion` is the only writer of the alias, under the lock
of `locks`, with the `evidence` on the version, the `history` of decisions, and the policy of `pinning`.
"""
