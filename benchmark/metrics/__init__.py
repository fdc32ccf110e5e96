"""The metrics: pure functions on counts of right and wrong answers, and their statistics.

``counts`` defines a count, ``preservation`` the figures of a round that follow from it, ``tolerance`` how they are if
something may be lost; ``intervals`` and ``luck`` tell how far a figure can be trusted, ``significance`` whether a
class truly got worse, ``planning`` how many images a claim needs, ``stability`` how far an order of methods rests on
the seeds. ``flips``, ``transfer`` and ``scene_pairs`` are further figures; ``plugins`` offers some as Avalanche
metrics, and is the only one that imports torch.
"""
