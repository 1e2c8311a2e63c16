"""Dagster's own UI in a real browser: what an operator sees of a customer's job."""

import pytest
from outside import World
from playwright.sync_api import expect

SCRIPT = """
echo "reading the dataset on GPU $SCALAR_GPU_INDICES"
for epoch in $(seq 20); do
  sleep 0.15
  loss=$((21000 / (9 + epoch)))
  printf "epoch %2d of 20   loss %d.%03d\\n" $epoch $((loss / 1000)) $((loss % 1000))
done
echo "saved checkpoint-20.safetensors"
"""

pytestmark = pytest.mark.browser


def test_the_run_page_of_a_job_shows_its_step_its_output_and_whose_it_is(world: World, page, picture):
    job_id = world.customer.submit(SCRIPT, name="fine-tune", gpus=4, tier="fast")
    run_id = world.customer.ended(job_id)["runs"][0]["dagster_run_id"]
    world.dagster.finished(run_id)

    page.goto(f"{world.platform.dagster_url}/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text("container", exact=True).first).to_be_visible()
    page.get_by_role("button", name="View tags and config").click()
    tags = page.get_by_role("dialog")
    for tag in (f"scalar/job_id: {job_id}", "scalar/organisation: demo", f"scalar/node: {world.node['name']}"):
        expect(tags).to_contain_text(tag)
    tags.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Succeeded (1)")).to_be_visible()
    page.get_by_role("button", name="stdout").click()
    page.get_by_text("container", exact=True).first.click()
    expect(page.get_by_text("epoch 20 of 20")).to_be_visible()
    expect(page.get_by_text("saved checkpoint-20.safetensors")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_text("Download").click()
    assert download.value.path().read_text() == world.customer.log(job_id)
    picture("dagster-run.png")


@pytest.mark.usefixtures("metered_hour")
def test_the_asset_graph_shows_the_hour_that_the_sensor_had_built(world: World, page, picture):
    page.goto(f"{world.platform.dagster_url}/locations/scalar/asset-groups/metering/lineage")
    expect(page.get_by_text("hourly_usage", exact=True).first).to_be_visible()
    expect(page.get_by_text("usage_events", exact=True).first).to_be_visible()
    expect(page.get_by_text("2 Passed")).to_be_visible()
    picture("dagster-assets.png")
