"""Nothing that is compiled from C steps outside a buffer, or does what C leaves undefined, in the tests that use it."""

import pytest

from tests import sanitized


@pytest.mark.slow(reason="builds five files anew and runs a minute of tests with them")
@pytest.mark.skipif(sanitized.libraries() is None, reason="needs gcc and its sanitizer of addresses")
def test_the_compiled_files_read_and_write_nothing_outside_their_buffers():
    assert sanitized.run(sanitized.TESTS) == 0
