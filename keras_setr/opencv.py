"""OpenCV, of whichever of its packages is installed."""

try:
    import cv2

    # Lacking in versions before 4.11.
    cv2.IMREAD_COLOR_RGB
except (ImportError, AttributeError) as error:
    raise ImportError(
        "keras_setr needs OpenCV 4.11 or later from one, and only one, of the "
        "packages opencv-python-headless, opencv-python, "
        "opencv-contrib-python-headless and opencv-contrib-python, which all "
        f"write the same files. Received: {error}; uninstall all of them and "
        "install one, on machines without a display a headless one."
    ) from error

__all__ = ["cv2"]
