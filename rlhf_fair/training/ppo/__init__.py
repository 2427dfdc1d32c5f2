"""Proximal policy optimisation: pure functions, one rollout, one update, small trainers around them.

To learn how it works, read in this order:

    advantages    returns and advantages on padded responses (GAE), standardizing, rewards per token
    loss          the clipped objective and the clipped value loss
    kl            what the KL divergence to the reference costs, fixed or adaptive
    update        epochs over one batch in minibatches, whatever the policy is
    policy, critic, reference     the networks: value head on the trunk or a critic apart, frozen copy or adapter off
    rollout       one batch of sampled responses with everything the update needs
    fairness      the penalty of `rlhf_fair.training.fairness`, applied to a rollout
    trainer       one step: roll out, score, shape, update;  settings, checkpoint, devices  belong to it

Around them stand three packages: ``rewards`` (what is paid, and by whom), ``job`` (``rlhf-fair train ppo``, from one
TOML to a folder with a model, its curves and an account of what changed on held-out prompts) and ``features``
(deciders about rows of a table and gymnasium environments, under the same advantages, loss and update).
"""
