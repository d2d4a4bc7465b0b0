"""Page tokens: opaque, bound to their list and its filters, and harmless when forged."""

import base64
import json

import pytest

from kronforce.api.paging import next_token, read_page
from kronforce.errors import InvalidArgument, InvalidPageToken
from kronforce.store.paging import Page
from kronforce.v1.execution_service_pb2 import ListExecutionsRequest
from kronforce.v1.job_service_pb2 import ListJobsRequest


def page(*after: object) -> Page[None]:
    return Page(items=[], next_after=after or None, total=0, total_exact=True)


def test_a_request_without_a_size_gets_a_hundred() -> None:
    assert read_page(ListJobsRequest(), (str,)).size == 100


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_size_out_of_bounds_is_refused_by_its_field(size: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_page(ListJobsRequest(page_size=size), (str,))
    assert refused.value.violations[0].field == "page_size"


def test_the_last_page_has_no_token() -> None:
    assert next_token(ListJobsRequest(), page()) == ""


def test_a_token_gives_back_text_numbers_and_bytes() -> None:
    request = ListJobsRequest(group="a")
    token = next_token(request, page("é", 2**62, b"\x00\xff"))
    again = ListJobsRequest(group="a", page_token=token, page_size=7)
    assert read_page(again, (str, int, bytes)).after == ("é", 2**62, b"\x00\xff")


def test_a_token_of_other_filters_is_refused() -> None:
    token = next_token(ListJobsRequest(group="a"), page("x"))
    with pytest.raises(InvalidPageToken):
        read_page(ListJobsRequest(group="b", page_token=token), (str,))


def test_a_token_of_another_list_is_refused() -> None:
    token = next_token(ListJobsRequest(), page(5))
    with pytest.raises(InvalidPageToken):
        read_page(ListExecutionsRequest(page_token=token), (int,))


def test_a_token_whose_values_are_not_of_the_sort_key_is_refused() -> None:
    token = next_token(ListJobsRequest(), page("text"))
    with pytest.raises(InvalidPageToken):
        read_page(ListJobsRequest(page_token=token), (int,))


def test_a_number_beyond_64_bits_is_refused() -> None:
    token = next_token(ListJobsRequest(), page(2**64))
    with pytest.raises(InvalidPageToken):
        read_page(ListJobsRequest(page_token=token), (int,))


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "a" * 5000, "====", "W10"])
def test_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        read_page(ListJobsRequest(page_token=token), (str,))


def test_a_token_that_was_changed_is_refused() -> None:
    token = next_token(ListJobsRequest(), page("alpha"))
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    changed = raw[:12] + json.dumps(["beta"]).encode()
    with pytest.raises(InvalidPageToken):
        read_page(ListJobsRequest(page_token=base64.urlsafe_b64encode(changed).decode()), (str,))


def test_a_page_by_number_skips_those_before_it() -> None:
    asked = read_page(ListJobsRequest(page=3, page_size=40), (str,))
    assert (asked.size, asked.skip, asked.after) == (40, 80, None)


def test_the_first_page_by_number_skips_nothing() -> None:
    assert read_page(ListJobsRequest(page=1), (str,)).skip == 0


@pytest.mark.parametrize(
    ("page_number", "size", "last"), [(-1, 0, 100), (101, 0, 100), (11, 1_000, 10), (35, 300, 34)]
)
def test_a_page_by_number_beyond_ten_thousand_rows_is_refused(
    page_number: int, size: int, last: int
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_page(ListJobsRequest(page=page_number, page_size=size), (str,))
    assert refused.value.violations[0].field == "page"
    assert f"from 1 to {last} " in refused.value.message
    assert read_page(ListJobsRequest(page=last, page_size=size), (str,)).skip < 10_000


def test_a_page_has_a_number_or_a_token() -> None:
    token = next_token(ListJobsRequest(), page("x"))
    with pytest.raises(InvalidArgument, match="page: cannot stand beside page_token"):
        read_page(ListJobsRequest(page=2, page_token=token), (str,))


def test_after_a_page_by_number_its_token_goes_on() -> None:
    token = next_token(ListJobsRequest(page=2, page_size=5), page("x"))
    assert read_page(ListJobsRequest(page_token=token), (str,)).after == ("x",)
