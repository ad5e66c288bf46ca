"""The page in a browser, as its visitors use it.

Its pictures go to the folder that `KERAS_SETR_SCREENSHOTS` names.
"""

import json
import os
import pathlib
import shutil
import time
import urllib.parse

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr.app import Trial
from keras_setr.app import serve
from tests import tiny

pytest.importorskip("gradio", reason='needs pip install -e ".[app]"')
webdriver = pytest.importorskip(
    "selenium.webdriver", reason="needs pip install selenium"
)
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromium-driver"
)
SECONDS = 120
PLACES = {
    "overlay": "#overlay img",
    "attention": "#attention img",
    "message": ".message p",
    "toast": ".toast-body",
}


class Counted:
    """A model that counts those who use it at a time, slowly."""

    def __init__(self, model):
        self._model = model
        self.at_a_time, self._now, self.passes = 0, 0, 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def segment(self, image):
        self._now += 1
        self.passes += 1
        self.at_a_time = max(self.at_a_time, self._now)
        time.sleep(1)
        labels = self._model.segment(image)
        self._now -= 1
        return labels


@pytest.fixture(scope="module")
def model():
    names = ("road", "sidewalk", "traffic sign", "vegetation", "sky")
    backbone = tiny.backbone((32, 48, 3), position_grid=(4, 6))
    made = ks.SETRNaive(
        backbone, tiny.CLASSES, filters=8, classes=ks.Classes(names)
    )
    return Counted(made)


@pytest.fixture(scope="module")
def page(model):
    trial = Trial(model, max_pixels=100_000)
    page = serve(trial, "setr_naive_tiny", port=None, max_megabytes=0.5)
    yield page
    page.close()


@pytest.fixture
def visitor(page, tmp_path):
    """What opens the page in a browser of its own."""
    drivers = []

    def open_page():
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in (
            *("headless", "no-sandbox", "disable-gpu"),
            *("disable-dev-shm-usage", "window-size=1200,1100"),
            # Whatever is asked of another host fails.
            "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ):
            options.add_argument(f"--{argument}")
        folder = {"download.default_directory": str(tmp_path)}
        options.add_experimental_option("prefs", folder)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(DRIVER)
        )
        drivers.append(driver)
        driver.get(page.local_url)
        return Visitor(driver)

    yield open_page
    for driver in drivers:
        driver.quit()


class Visitor:
    def __init__(self, driver):
        self.driver = driver

    def all(self, place):
        return self.driver.find_elements("css selector", PLACES[place])

    def wait(self, test):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if found := test():
                    return found
            # The page has put another element there meanwhile.
            except webdriver.remote.errorhandler.StaleElementReferenceException:
                pass
            time.sleep(0.2)
        self.shoot("timed_out")
        pytest.fail(self.driver.find_element("css selector", "body").text)

    def see(self, place):
        return self.wait(
            lambda: next((e for e in self.all(place) if e.is_displayed()), None)
        )

    def see_picture(self, place):
        """A picture that has arrived, and where it came from."""
        element = self.see(place)
        self.wait(lambda: element.get_property("naturalWidth"))
        return element, element.get_attribute("src")

    def give(self, path):
        field = self.wait(
            lambda: self.driver.find_elements(
                "css selector", "input[type=file]"
            )
        )[0]
        field.send_keys(str(path))

    def take_back(self):
        selector = "button[aria-label='Clear']"
        self.driver.find_element("css selector", selector).click()

    def press(self, text):
        path = f"//button[contains(., '{text}')]"
        self.driver.find_element("xpath", path).click()

    def choose(self, text):
        """One of a few that stand side by side."""
        path = f"//label[contains(., '{text}')]/input[@type='radio']"
        self.driver.find_element("xpath", path).click()

    def pick(self, field, text):
        """One of a list that opens."""
        path = f"//input[@aria-label='{field}']"
        self.driver.find_element("xpath", path).click()
        path = f"//*[@role='option' and contains(., '{text}')]"
        self.wait(lambda: self.driver.find_elements("xpath", path))[0].click()

    def another_picture(self, place, before):
        """The one that comes in the place of one from `before`."""
        self.wait(lambda: self.see_picture(place)[1] != before)
        return self.see_picture(place)

    def hosts(self):
        """Those of whom the browser has asked anything."""
        asked = set()
        for entry in self.driver.get_log("performance"):
            sent = json.loads(entry["message"])["message"]
            if sent["method"] == "Network.requestWillBeSent":
                url = urllib.parse.urlsplit(sent["params"]["request"]["url"])
                asked |= {url.hostname} - {None}
        return asked

    def shoot(self, name):
        if folder := os.environ.get("KERAS_SETR_SCREENSHOTS"):
            time.sleep(1)
            script = "return document.documentElement.scrollHeight"
            height = max(self.driver.execute_script(script), 400)
            self.driver.set_window_size(1200, height + 140)
            time.sleep(1)
            self.driver.save_screenshot(
                str(pathlib.Path(folder, f"{name}.png"))
            )


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "street.png"
    scene, _ = ks.data.StreetScenes(1, (120, 180), seed=0)[0]
    Image.fromarray(np.asarray(scene, "uint8")).save(path)
    return path


def test_an_image_is_segmented_blended_looked_into_and_downloaded(
    visitor, photo, model, tmp_path
):
    guest = visitor()
    guest.shoot("start")
    before = model.passes
    guest.give(photo)
    picture, first = guest.see_picture("overlay")
    assert picture.get_property("naturalWidth") == 180
    guest.shoot("overlay")
    guest.press("Download labels")
    guest.wait((tmp_path / "street_labels.png").exists)
    labels = ks.data.load_mask(tmp_path / "street_labels.png")
    np.testing.assert_array_equal(labels, model.segment(photo))
    # Another opacity is another picture, of the same forward pass.
    slider = guest.driver.find_element("css selector", "input[type=range]")
    slider.send_keys(webdriver.Keys.END)
    picture, _ = guest.another_picture("overlay", first)
    assert model.passes == before + 2  # one of them above
    webdriver.ActionChains(guest.driver).move_to_element(
        picture
    ).click().perform()
    maps, shown = guest.see_picture("attention")
    # The image and 4 heads, 200 pixels each with 10 between, margins of 16.
    assert maps.get_property("naturalWidth") == 5 * 210 - 10 + 2 * 16
    guest.shoot("attention")
    # Each choice draws the clicked point anew; alone, a map has 480 pixels.
    guest.pick("Layer", "2")
    _, shown = guest.another_picture("attention", shown)
    guest.pick("Head", "3")
    maps, shown = guest.another_picture("attention", shown)
    assert maps.get_property("naturalWidth") == 2 * 490 - 10 + 2 * 16
    guest.choose("what attends to it")
    _, shown = guest.another_picture("attention", shown)
    guest.shoot("attention_of_one_head")
    guest.choose("rollout")
    maps, shown = guest.another_picture("attention", shown)
    assert maps.get_property("naturalWidth") == 2 * 490 - 10 + 2 * 16
    guest.shoot("rollout")
    assert guest.hosts() == {"127.0.0.1"}


@pytest.mark.backends("torch")
def test_a_bad_file_and_one_of_many_pixels_are_told_on_the_page(
    visitor, photo, tmp_path
):
    guest = visitor()
    guest.give(photo)
    guest.see_picture("overlay")
    guest.take_back()
    (tmp_path / "cat <b>.jpg").write_text("no image")
    guest.give(tmp_path / "cat <b>.jpg")
    text = guest.see("message").text
    assert (
        'is not an image that can be read: it is text, which begins "no' in text
    )
    assert "/" not in text and "Traceback" not in text
    guest.wait(lambda: not any(e.is_displayed() for e in guest.all("overlay")))
    guest.shoot("bad_file")
    guest.take_back()
    guest.wait(lambda: not guest.all("message"))
    Image.new("RGB", (1000, 200)).save(tmp_path / "wide.png")
    guest.give(tmp_path / "wide.png")
    assert "wide.png has 1000 x 200 pixels" in guest.see("message").text
    guest.shoot("many_pixels")
    # The page goes on.
    guest.take_back()
    guest.give(photo)
    guest.see_picture("overlay")


@pytest.mark.backends("torch")
def test_a_large_file_is_refused_on_the_page(visitor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 400, 3), "uint8")
    Image.fromarray(noise).save(tmp_path / "large.png")  # 600 kB
    guest = visitor()
    guest.give(tmp_path / "large.png")
    assert "size" in guest.see("toast").text.lower()
    guest.shoot("large_file")


@pytest.mark.backends("torch")
def test_two_visitors_queue_and_each_gets_the_own_image(
    visitor, photo, model, tmp_path
):
    Image.open(photo).rotate(90, expand=True).save(tmp_path / "tall.png")
    first, second = visitor(), visitor()
    first.give(photo)
    second.give(tmp_path / "tall.png")
    widths = [
        guest.see_picture("overlay")[0].get_property("naturalWidth")
        for guest in (first, second)
    ]
    assert widths == [180, 120]
    assert model.at_a_time == 1
    second.shoot("second_visitor")
