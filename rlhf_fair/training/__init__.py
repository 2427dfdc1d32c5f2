"""Supervised fine-tuning, reward models, PPO and the fairness penalty."""
