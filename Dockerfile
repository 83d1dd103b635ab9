# One image for `receiver migrate`, `serve` and `work`; your handlers come on top, in /app (see docker-compose.yml).
# Another base, such as a mirror's: docker build --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv tools && python -m venv --without-pip /opt/receiver
COPY requirements/build.txt requirements/runtime.txt requirements/
# Wheels only: there is no compiler here, and building one would fetch what no lock names.
RUN tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
 && tools/bin/pip --python /opt/receiver/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY receiver receiver
COPY migrations migrations
RUN tools/bin/python -m hatchling build -t wheel -d dist \
 && tools/bin/pip --python /opt/receiver/bin/python install --no-cache-dir --no-index --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 receiver && useradd --system --uid 10001 --gid receiver --no-create-home receiver
COPY --from=build /opt/receiver /opt/receiver
ENV PATH=/opt/receiver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RECEIVER_HOST=0.0.0.0
WORKDIR /app
USER receiver
# 8000 takes callbacks. The operator listener stays on the container's own loopback.
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8001/readyz', timeout=4)"]
ENTRYPOINT ["receiver"]
CMD ["--help"]
