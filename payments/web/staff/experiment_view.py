"""How a campaign's variants compare, ready to print.

Figures of a variant with fewer than ten contributions are not shown, and neither is an interval
that would tell them.
"""

from typing import Any

from payments.core import money
from payments.core.money import Money
from payments.giving.experiments import Comparison, ExperimentResult, VariantResult, Verdict

PER_IMPRESSIONS, PER_CONTRIBUTIONS = 1000, 100  # what averages and intervals are given for
VERDICT_LABELS = {
    Verdict.INSUFFICIENT_DATA: "Not enough data yet",
    Verdict.INCONCLUSIVE: "No difference that is sure",
    Verdict.MORE: "Brings more",
    Verdict.LESS: "Brings less",
}
CONTROL_LABEL = "The one the others are compared with"


def experiment_view(result: ExperimentResult, *, days: int) -> dict[str, Any]:
    """Return the tables of an experiment: of the form, and of the widget in articles.

    `days` is how long after an impression its net revenue is counted.
    """
    currency = result.currency
    return {
        "since": f"{result.since:%-d %B %Y}",
        "until": f"{result.until:%-d %B %Y}",
        "days": days,
        "elsewhere": result.other_currency_contributions,
        "currency": "" if currency is None else currency.upper(),
        "rows": [
            _form_row(
                variant,
                comparison,
                currency,
                disclosed=variant.is_reportable and result.variants[0].is_reportable,
            )
            for variant, comparison in zip(
                result.variants, [None, *result.comparisons], strict=True
            )
        ],
        "in_articles": [
            _article_row(
                variant,
                comparison,
                currency,
                disclosed=variant.is_reportable and result.widget_variants[0].is_reportable,
            )
            for variant, comparison in zip(
                result.widget_variants, [None, *result.widget_comparisons], strict=True
            )
        ],
    }


def _form_row(
    variant: VariantResult, comparison: Comparison | None, currency: str | None, *, disclosed: bool
) -> dict[str, str]:
    net = variant.mean * PER_IMPRESSIONS
    return {
        **_comparison_view(variant, comparison, currency, per=PER_IMPRESSIONS, disclosed=disclosed),
        "shown": f"{variant.impressions:,}",
        "net": _format_amount(net, currency) if variant.is_reportable else "",
    }


def _article_row(
    variant: VariantResult, comparison: Comparison | None, currency: str | None, *, disclosed: bool
) -> dict[str, str]:
    view = _comparison_view(
        variant, comparison, currency, per=PER_CONTRIBUTIONS, disclosed=disclosed
    )
    net = _format_amount(variant.net_total, currency) if variant.is_reportable else ""
    return {**view, "net": net}


def _comparison_view(
    variant: VariantResult,
    comparison: Comparison | None,
    currency: str | None,
    *,
    per: int,
    disclosed: bool,
) -> dict[str, str]:
    """Return the verdict on a variant and its confidence interval, for so many trials."""
    verdict = CONTROL_LABEL if comparison is None else VERDICT_LABELS[comparison.verdict]
    interval = ""
    if comparison is not None and comparison.verdict is not Verdict.INSUFFICIENT_DATA and disclosed:
        low = _format_amount(comparison.low * per, currency)
        interval = f"{low} to {_format_amount(comparison.high * per, currency)}"
    gifts = f"{variant.contributions:,}" if variant.is_reportable else "fewer than 10"
    return {"name": variant.name, "gifts": gifts, "verdict": verdict, "interval": interval}


def _format_amount(minor: float, currency: str | None) -> str:
    if currency is None:
        return ""
    return money.format(Money(round(minor), currency)).replace("-", money.MINUS)
