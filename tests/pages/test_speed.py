"""How soon pages are there. Nothing is asserted of time here: `bench.web` measures it on a machine
that does nothing else."""

from __future__ import annotations


def test_the_largest_paint_of_the_team_is_reported(site, visit):
    site.customer("acme", 50)
    for number in range(20):
        site.employee("acme", f"Pulse {number}")
    ann = visit("ann@acme.test")
    for name in ("first", "second"):
        ann.go("/")
        ann.page.get_by_role("heading", name="Pulse 19").wait_for()
        painted = ann.largest_paint_ms()
        print(f"largest contentful paint of the team, {name} visit: {painted:.0f} ms")
        assert painted > 0


def test_a_second_page_loads_no_file_again(site, visit):
    site.customer("acme")
    ann = visit("ann@acme.test")
    ann.go("/")
    ann.page.wait_for_load_state("load")
    kept = ann.page.evaluate("""() => performance.getEntriesByType('resource')
      .filter((r) => /\\.(js|css)$/.test(r.name)).map((r) => [r.name, r.transferSize])""")
    assert kept
    assert [name for name, size in kept if size] == []
