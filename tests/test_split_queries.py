"""What two processes of one application agree on."""

from happy import App, event, handles, state
from happy.app import definition_of, takes_all
from happy.examples.lists import MailingLists
from happy.examples.numbers import NumberService
from happy.split.queries import queries_of, schema_digest


def test_every_query_has_a_name():
    """Queries of the class, and what the mail door asks."""
    assert set(queries_of(NumberService)) == {"last", "takes all"}
    found = queries_of(MailingLists)
    assert MailingLists.mail.knows in found.values()
    assert found["takes all"] is takes_all


def test_the_digest_tells_what_an_application_declares():
    """A field more is another digest; other code is not."""

    def made(field):
        @event
        class Add:
            __annotations__ = {field: int}

        @state
        class Total:
            total: int = 0

        class Counter(App):
            state = Total

            @handles(Add)
            def add(state, event, context):
                return None

        return schema_digest(definition_of(Counter))

    assert made("count") == made("count")
    assert made("count") != made("number")
