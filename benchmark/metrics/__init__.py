"""What is measured: pure functions on counts of right and wrong answers, and their statistics.

``counts`` says what a count is, ``preservation`` what follows from it for a round, ``intervals`` and ``luck`` how far a
figure can be trusted, ``significance`` whether a class truly got worse, ``planning`` how many images a claim needs.
``flips``, ``transfer`` and ``scene_pairs`` are further figures; ``plugins`` offers some as Avalanche metrics, and is the
only one that imports torch.
"""
