"""Command lines of peers."""

from loadtests.targets.peers import peers, without_options


def test_an_option_of_the_users_takes_the_place_of_ours():
    arguments = peers()["infinity"].arguments
    assert "--dtype" in arguments
    own = without_options(arguments, {"--dtype", "--batch-size"})
    assert "--dtype" not in own
    assert len(own) == len(arguments) - 2
    assert without_options(arguments, set()) == list(arguments)
