"""Where compressed video comes from: files, cameras, a synthetic scene."""
