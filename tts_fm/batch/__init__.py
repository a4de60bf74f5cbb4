"""A list of texts becomes a folder of audio, once: killed at any point it goes on to the same files.

lists.py and forms.py read the list, run.py plans and spreads the work (processes.py: over processes),
rounds.py speaks a round of it, journal.py writes down what happened. It knows nothing of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.batch.forms import FORMS as FORMS
    from tts_fm.batch.ids import check_id as check_id
    from tts_fm.batch.ids import clean_id as clean_id
    from tts_fm.batch.journal import Record as Record
    from tts_fm.batch.lists import Item as Item
    from tts_fm.batch.lists import ListError as ListError
    from tts_fm.batch.lists import read_list as read_list
    from tts_fm.batch.plan import model_digest as model_digest
    from tts_fm.batch.rounds import FORMATS as FORMATS
    from tts_fm.batch.rounds import BatchStopped as BatchStopped
    from tts_fm.batch.rounds import Options as Options
    from tts_fm.batch.run import Progress as Progress
    from tts_fm.batch.run import run_batch as run_batch

NAMES = {
    "forms": "FORMS",
    "ids": "check_id clean_id",
    "journal": "Record",
    "lists": "Item ListError read_list",
    "plan": "model_digest",
    "rounds": "BatchStopped FORMATS Options",
    "run": "Progress run_batch",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)
