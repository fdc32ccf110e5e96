"""``python -m benchmark``."""

from benchmark.cli import main

if __name__ == "__main__":  # not in processes that multiprocessing starts, which import it again
    main()
