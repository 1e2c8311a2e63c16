from node_agent.backoff import Backoff


def test_each_wait_is_about_twice_the_last_up_to_the_most():
    backoff = Backoff(first=1, most=5, chance=lambda: 1.0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_up_to_a_half_is_left_to_chance():
    assert Backoff(first=1, chance=lambda: 0.0).next() == 0.5


def test_a_success_starts_over():
    backoff = Backoff(first=1, chance=lambda: 1.0)
    backoff.next()
    backoff.reset()
    assert backoff.next() == 1
