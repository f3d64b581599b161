"""How many replicas a revision should have: Knative's pod autoscaler (KPA) as values and pure functions.

Nothing here reads a clock or does IO, so the daemon, `trimtab simulate` and the tests run the same code.
The facts are those of knative/serving `pkg/autoscaler` and `pkg/reconciler/autoscaling/kpa`.
"""

from trimtab.deploy.local.autoscale.config import ScalerConfig
from trimtab.deploy.local.autoscale.decide import SAMPLE_INTERVAL, TICK_INTERVAL, Autoscaler, Decision
from trimtab.deploy.local.autoscale.windows import AverageWindow, MaximumWindow

__all__ = [
    "SAMPLE_INTERVAL",
    "TICK_INTERVAL",
    "Autoscaler",
    "AverageWindow",
    "Decision",
    "MaximumWindow",
    "ScalerConfig",
]
