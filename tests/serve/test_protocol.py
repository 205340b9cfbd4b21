"""What ends a stream is told to its client."""

from asr_kd.serve.protocol import Refusal, plain_error


def test_of_what_tasks_ended_with_the_lost_connection_comes_first_and_what_is_ours_stays_a_group():
    refusal, lost, ours = Refusal(400, "no"), ConnectionResetError(), KeyError("x")
    assert plain_error(ExceptionGroup("", [refusal])) is refusal
    assert plain_error(ExceptionGroup("", [refusal, lost])) is lost
    for group in (ExceptionGroup("", [ours]), ExceptionGroup("", [refusal, ours])):
        assert plain_error(group) is group
