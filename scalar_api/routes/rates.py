"""Rate cards, for operators: what a GPU-second costs whom, from when on."""

from fastapi import APIRouter

from scalar.billing import rate_cards_store, rates
from scalar.billing.rate_cards import DEFAULT_RATE_CARD
from scalar.errors import Conflict, InvalidRequest, NotFound
from scalar.metering.model import hour_of
from scalar_api.dependencies import Db, Now, Operator
from scalar_api.problems import responses
from scalar_api.rate_views import RateCardBody, RateCardList, RateCardView
from scalar_api.tenancy import id_of_organisation

router = APIRouter(prefix="/v1", tags=["billing"])
_OF_RATES = responses()
_OF_A_NEW_ONE = responses(NotFound, Conflict)


@router.get("/rate-cards", responses=_OF_RATES)
def list_rate_cards(_: Operator, database: Db) -> RateCardList:
    """All of them, those that are over, yet to come, or withdrawn too."""
    with database.transaction() as tx:
        cards = rate_cards_store.cards(tx)
    return RateCardList(data=[RateCardView.of(card) for card in (*cards, DEFAULT_RATE_CARD)])


@router.post("/rate-cards", status_code=201, responses=_OF_A_NEW_ONE)
def create_rate_card(body: RateCardBody, caller: Operator, database: Db, now: Now) -> RateCardView:
    """Let prices come into force at an hour; the card that was in force without an end is over then.

    What has been used keeps its price. A card is never changed: a new price is a new card. One that is yet to begin
    can be withdrawn.
    """
    with database.transaction() as tx:
        organisation_id = id_of_organisation(tx, body.organisation) if body.organisation is not None else None
        try:
            card = body.card(organisation_id, hour_of(now))
        except ValueError as error:
            raise InvalidRequest(f"prices: {error}.") from error
        return RateCardView.of(rates.set_rate_card(tx, card, actor=caller.actor, now=now))


@router.post("/rate-cards/{rate_card_id}/withdraw", responses=_OF_A_NEW_ONE)
def withdraw_rate_card(rate_card_id: str, caller: Operator, database: Db, now: Now) -> RateCardView:
    """Take back a card that is yet to begin. The card that it would have ended holds on, until the next one begins;
    and there is room for another one. Repeats change nothing.
    """
    with database.transaction() as tx:
        return RateCardView.of(rates.withdraw_rate_card(tx, rate_card_id, actor=caller.actor, now=now))
