# The base image that functions sit on: a slim Python, the runtime preinstalled, a user without rights.
#
#   docker build -t trimtab-base .                  # or podman, or buildah bud
#   docker run -p 8080:8080 -v "$PWD/hello.py:/function/hello.py:ro" -e TRIMTAB_HANDLER=hello trimtab-base
#
# BASE_IMAGE can be any image with CPython 3.11 or newer as `python3`.
ARG BASE_IMAGE=python:3.13-slim
FROM ${BASE_IMAGE} AS build
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN python3 -m venv /opt/trimtab \
 && /opt/trimtab/bin/pip install --no-cache-dir --disable-pip-version-check /build

FROM ${BASE_IMAGE}
COPY --from=build /opt/trimtab /opt/trimtab
ENV PATH=/opt/trimtab/bin:$PATH PYTHONUNBUFFERED=1 PORT=8080
WORKDIR /function
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=2s \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=1)"]
ENTRYPOINT ["trimtab", "serve", "--host", "0.0.0.0"]
