from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_server import ModelServer
from pydantic import ValidationError
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.audit.scorers import ScorerPlan, open_classifier, open_scorer, scorer_inputs
from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.lexicon import LexiconScorer
