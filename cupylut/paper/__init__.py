"""The paper's experiments, redone on the machine at hand: its Table 1, figures 1 and 2."""
