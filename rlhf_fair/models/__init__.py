"""Whatever reads or writes text: causal language models, reward models, text scorers. torch starts here."""
