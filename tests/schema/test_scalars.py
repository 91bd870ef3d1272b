from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.schema.scalars import DATE_TIME_SCALAR


@given(st.datetimes(timezones=st.just(UTC) | st.timezones() | st.none()))
def test_a_moment_is_written_as_strawberry_writes_it(moment: datetime):
    assert DATE_TIME_SCALAR.serialize is not None
    assert DATE_TIME_SCALAR.serialize(moment) == moment.isoformat()
