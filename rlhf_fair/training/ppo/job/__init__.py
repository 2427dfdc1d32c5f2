"""``rlhf-fair train ppo``: from one TOML to a folder with a model, its curves, and what changed on held-out prompts."""
