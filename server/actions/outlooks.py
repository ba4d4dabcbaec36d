"""The forecast of a period, from rows: a query for the API and the pages. Held jobs are not in it."""

from __future__ import annotations

from server.core.forecast import forecast
from server.core.outlook import Change, Outlook, Subject, outlook
from server.storage.forecasts import Material


def make(found: Material, after_us: int, until_us: int, step_us: int, limit: int, job_id: int = 0) -> Outlook:
    """What is due after `after_us` up to `until_us`, of one job when given. Takes a while: call it in a thread."""
    timings = [one for one in found.timings if not job_id or one[0][0] == job_id]
    schedules = {subject for subject, _ in timings}

    def named(subject: Subject) -> tuple[str, str]:
        place = found.places.get(subject[0])
        if place is None or subject not in schedules:
            return "", ""
        return place.job, found.members.get(subject[1], place.place)

    changes = [Change((row.job_id, row.schedule_id), row.instant_us, row.moved_to_us) for row in found.exceptions]
    return outlook(forecast(timings, after_us, until_us), changes, named, step_us, limit)
