"""A request, and the milestones of its way through a deployment. Imports the standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrives at the front door.

    Parameters
    ----------
    request_id
        Unique number; also the order of requests that arrive at the same instant.
    arrival_s
        Arrival at the front door, seconds on the emulation's clock.
    input_tokens
        Length of the prompt, tokens, at least 1.
    output_tokens
        Length of the answer with its first token, at least 1.
    prefix_hit_tokens
        Tokens of the prompt that the prefix cache serves, at most ``input_tokens``.
    """

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    prefix_hit_tokens: int = 0

    @property
    def uncached_tokens(self) -> int:
        """Tokens that the prefill must compute."""
        return self.input_tokens - self.prefix_hit_tokens


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A pass that held the request has ended.

    Parameters
    ----------
    request
        The request.
    replica
        Name of the prefill replica.
    joined_s
        When the request joined that replica (its arrival, unless it waited at the front door or moved).
    started_s, at_s
        Begin and end of the pass.
    first_token_s
        End of the pass plus the overhead: when the user sees the first token and decode sees the request.
    """

    request: Request
    replica: str
    joined_s: float
    started_s: float
    at_s: float
    first_token_s: float

    @property
    def ttft_s(self) -> float:
        """Time to first token as the user sees it, seconds."""
        return self.first_token_s - self.request.arrival_s


@dataclass(frozen=True, slots=True)
class Admitted:
    """A decode replica has started to decode the request; ``joined_s`` is when the request joined that replica."""

    request: Request
    replica: str
    joined_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Completion:
    """The record of a finished request.

    Parameters
    ----------
    prefill
        Its way through prefill.
    decode_replica
        Name of the decode replica; None where the answer has one token and ends after prefill.
    decode_started_s
        When it was admitted there; None likewise.
    at_s
        When its last token was ready.
    """

    prefill: Prefilled
    decode_replica: str | None
    decode_joined_s: float | None
    decode_started_s: float | None
    at_s: float

    @property
    def request(self) -> Request:
        """The request."""
        return self.prefill.request

    @property
    def ttft_s(self) -> float:
        """Time to first token, seconds."""
        return self.prefill.ttft_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token with the wait for a slot, seconds; None where the answer has one token."""
        tokens = self.request.output_tokens - 1
        return (self.at_s - self.prefill.first_token_s) / tokens if tokens > 0 else None

    @property
    def e2e_s(self) -> float:
        """Arrival at the front door to the last token, seconds."""
        return self.at_s - self.request.arrival_s


Milestone = Prefilled | Admitted | Completion
