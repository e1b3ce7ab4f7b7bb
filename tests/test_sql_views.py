from __future__ import annotations


def test_x(finished_home):
    print(finished_home)
