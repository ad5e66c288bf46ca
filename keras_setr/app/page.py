"""The page, which Gradio serves."""

import html
import tempfile
import traceback
from typing import Any

from keras_setr.app.trial import Trial
from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import string

# How attention is shown: as the paper's scripts do, and as it says.
_LAYER = "of one layer, head by head"
_ROLLOUT = "rollout up to a layer"
# Of all heads, one beside the other.
_ALL = "all"
# Visitors that wait; whoever comes after them is told so.
_QUEUE = 32
# Whose images are remembered, 64 MB each at 16 million pixels and bytes.
_SESSIONS = 32
# Files of visitors are looked through every ten minutes and kept for an hour.
_FILES_SECONDS = (600, 3600)
_CSS = """
.message:not(:has(p)) {display: none}
.message p {border-left: 4px solid #c2410c; padding: .4em .8em}
"""


@checked(
    trial=instance("a Trial", Trial),
    title=string(),
    max_megabytes=number(above=0),
)
def build_page(trial: Trial, title: str, max_megabytes: float = 32) -> Any:
    """The page as a `gradio.Blocks`.

    Args:
        trial: `Trial`.
        title: str. What the model is called.
        max_megabytes: float. Said on the page; `serve` keeps to it.
    """
    import gradio as gr

    takes = (
        f"{len(trial.classes)} classes. Takes images of up to "
        f"{trial.max_pixels / 1e6:g} million pixels and {max_megabytes:g} MB."
    )
    if trial.has_attention:
        looks = "Click a point of the picture to see what its patch attends to."
    else:
        looks = "This model shows no attention."

    def refused(text):
        message = f'<p role="alert">{html.escape(text)}</p>' if text else ""
        hidden = gr.Column(visible=False), gr.Image(visible=False)
        return [message, None, None, *3 * (gr.skip(),), *hidden]

    def segment(path, alpha):
        if path is None:
            return refused("")
        try:
            seen = trial.segment(path)
            with tempfile.TemporaryDirectory() as folder:
                written = trial.write_labels(seen, folder)
                # There Gradio removes it in time.
                kept = download.move_resource_to_block_cache(written)
            pictures = trial.overlay(seen, alpha), trial.legend(seen)
        except ValueError as error:
            return refused(str(error))
        except Exception:
            traceback.print_exc()
            return refused(
                "This image could not be segmented; the server has printed why."
            )
        places = gr.Column(visible=True), gr.Image(visible=False)
        return ["", seen, None, *pictures, kept, *places]

    def blend(seen, alpha):
        return gr.skip() if seen is None else trial.overlay(seen, alpha)

    def attend(seen, point, way, layer, head, direction):
        if point is None:  # nothing has been clicked
            return gr.skip(), gr.skip()
        if seen is None:
            gone = "The server has forgotten this image; give it once more."
            return refused(gone)[0], gr.skip()
        try:
            if way == _ROLLOUT:
                drawn = trial.rollout(seen, point, layer, direction)
            else:
                one = None if head == _ALL else head
                drawn = trial.attention(seen, point, layer, one, direction)
            return "", gr.Image(drawn, visible=True)
        except Exception:
            traceback.print_exc()
            gone = "The attention could not be drawn; the server says why."
            return refused(gone)[0], gr.skip()

    def click(seen, way, layer, head, direction, event: gr.SelectData):
        x, y = event.index
        return (y, x), *attend(seen, (y, x), way, layer, head, direction)

    # One worker for the model: whoever comes second waits in Gradio's queue.
    of_model = {
        "concurrency_id": "model",
        "concurrency_limit": 1,
        "api_visibility": "private",
    }
    # Gradio lays a picture's label over its upper left corner.
    picture = {"interactive": False, "show_label": False}
    page = gr.Blocks(
        title=title, analytics_enabled=False, delete_cache=_FILES_SECONDS
    )
    with page:
        gr.Markdown(f"# {title}\n{takes} {looks}")
        seen, point = gr.State(), gr.State()
        file = gr.File(label="Image", height=140)
        message = gr.HTML(elem_classes="message")
        with gr.Column(visible=False) as result:
            with gr.Row():
                with gr.Column(scale=3):
                    overlay = gr.Image(
                        elem_id="overlay",
                        alt_text="The image under the colours of its classes",
                        buttons=["fullscreen"],
                        **picture,
                    )
                    alpha = gr.Slider(
                        0, 1, 0.5, step=0.05, label="Opacity of the colours"
                    )
                with gr.Column(scale=1, min_width=240):
                    gr.Markdown("Share of the pixels")
                    legend = gr.Image(
                        alt_text="The classes with their shares of the pixels",
                        buttons=[],
                        **picture,
                    )
                    download = gr.DownloadButton("Download labels", size="md")
            if trial.has_attention:
                choices = _attention_choices(trial.model.backbone)
        attention = gr.Image(
            elem_id="attention",
            alt_text="The attention of the point",
            visible=False,
            buttons=["fullscreen"],
            **picture,
        )
        shown = [message, seen, point, overlay, legend, download]
        shown += [result, attention]
        for event in (file.upload, file.clear):
            event(
                segment, [file, alpha], shown, show_progress_on=file, **of_model
            )
        alpha.change(
            blend,
            [seen, alpha],
            overlay,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        if trial.has_attention:
            found = [message, attention]
            overlay.select(click, [seen, *choices], [point, *found], **of_model)
            gr.on(
                [choice.input for choice in choices],
                attend,
                [seen, point, *choices],
                found,
                **of_model,
            )
    return page.queue(max_size=_QUEUE)


def _attention_choices(backbone):
    """Way, layer, head and direction, as the visitor chooses them."""
    import gradio as gr

    depth, heads = backbone.num_layers, backbone.num_heads
    directions = [
        ("what the point attends to", "from"),
        ("what attends to it", "to"),
    ]
    with gr.Row():
        way = gr.Radio(
            [_LAYER, _ROLLOUT], value=_LAYER, label="Attention", scale=3
        )
        layer = gr.Dropdown(
            list(range(1, depth + 1)), value=depth, label="Layer", min_width=90
        )
        head = gr.Dropdown(
            [_ALL, *range(1, heads + 1)], value=_ALL, label="Head", min_width=90
        )
        direction = gr.Radio(
            directions, value="from", label="Direction", scale=3
        )
    # A rollout means the heads.
    way.input(
        lambda way: gr.Dropdown(visible=way == _LAYER),
        way,
        head,
        show_progress="hidden",
        api_visibility="private",
    )
    return way, layer, head, direction


@checked(
    trial=instance("a Trial", Trial),
    title=string(),
    host=string(),
    port=optional(integer(1, 65535)),
    share=flag(),
    max_megabytes=number(above=0),
)
def serve(
    trial: Trial,
    title: str,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    share: bool = False,
    max_megabytes: float = 32,
) -> Any:
    """Serve the page from threads of this process.

    Nothing is asked of the network, unless `share`.

    Args:
        trial: `Trial`.
        title: str. What the model is called.
        host: str. The address to listen at; `"0.0.0.0"` for those of all
            networks.
        port: int. Defaults to the first that is free from 7860 on for None.
        share: bool. Through Gradio's servers at a public address, too.
        max_megabytes: float. Larger files are refused while they arrive.

    Returns:
        The `gradio.Blocks`; `local_url` says where it is, `close()` ends it.

    Raises:
        ImportError: Gradio is not installed.
        OSError: the port is in use.
    """
    import gradio as gr

    page = build_page(trial, title, max_megabytes)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            # Of 1024 * 1024 bytes, as Gradio counts them when it refuses.
            max_file_size=round(max_megabytes * 2**20),
            state_session_capacity=_SESSIONS,
            css=_CSS,
            theme=gr.themes.Default(),
            footer_links=[],
            prevent_thread_lock=True,
            quiet=True,
            # All that Gradio offers besides.
            enable_monitoring=False,
            mcp_server=False,
            pwa=False,
            run_history=False,
            ssr_mode=False,
        )
    except OSError as error:
        if port is None or "empty port" not in str(error):
            raise
        raise OSError(
            f"port must be free. Received: {port}, which is in use."
        ) from error
    return page
