"""The pipeline in rounds: policy, new completions, selected pairs, panel, reward model, policy; and what drifted."""
