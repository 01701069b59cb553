"""Pictures of many kinds as the encoded bytes that a model's `image_bytes` input takes."""

from vitrine_client.images.encoding import encode_image, encode_images, listed_pictures, passes_untouched, picture_list
from vitrine_client.images.options import JPEG_QUALITY, Check, ImageLike, ImageOptions

__all__ = [
    "JPEG_QUALITY",
    "Check",
    "ImageLike",
    "ImageOptions",
    "encode_image",
    "encode_images",
    "listed_pictures",
    "passes_untouched",
    "picture_list",
]
