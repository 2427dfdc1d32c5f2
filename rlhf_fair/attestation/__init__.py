"""What a finished folder says of itself, for a stranger to check: manifest, in-toto statement, log, signature.

Stands on nothing but files, so that every stage can end with `sealing.seal`; `rlhf_fair.integrity` checks it all.

========================  ==============================================================================
``manifest.json``         SHA-256 of every file, and of every input from outside
``audit-log.jsonl``       what happened to the folder, each line chained to the one before it
``statement.json``        in-toto Statement v1: those files had this outcome
``attestation.dsse.json`` the same statement in a signed envelope, once somebody has signed it
========================  ==============================================================================
"""
