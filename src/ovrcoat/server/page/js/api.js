// The client of the server's API. Every failure becomes an ApiError with the sentence of the server.

const TOKEN_KEY = "ovrcoat-token";
const BUSY_TRIES = 5;

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  #askToken;
  #onBusy;

  /** `askToken` resolves to a token that a person enters; `onBusy(seconds)` is called before a new try. */
  constructor({ askToken, onBusy }) {
    this.#askToken = askToken;
    this.#onBusy = onBusy;
  }

  models() {
    return this.#json("GET", "/v1/models");
  }

  vocabularies() {
    return this.#json("GET", "/v1/vocabularies");
  }

  vocabulary(name) {
    return this.#json("GET", `/v1/vocabularies/${encodeURIComponent(name)}`);
  }

  upload(file) {
    const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
    return this.#json("POST", "/v1/images", file, type);
  }

  segment(imageId, request) {
    return this.#json("POST", `/v1/images/${imageId}/segment`, JSON.stringify(request));
  }

  explain(imageId, request) {
    return this.#json("POST", `/v1/images/${imageId}/explain`, JSON.stringify(request));
  }

  async #json(method, path, body, type = "application/json") {
    for (let tries = 1; ; tries++) {
      const response = await this.#fetch(method, path, body, type);
      if (response.ok) return response.json();
      if (response.status === 401) {
        sessionStorage.setItem(TOKEN_KEY, await this.#askToken());
      } else if (response.status === 429 && tries < BUSY_TRIES) {
        const seconds = Number(response.headers.get("retry-after")) || 1;
        this.#onBusy(seconds);
        await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      } else {
        throw await errorOf(response);
      }
    }
  }

  async #fetch(method, path, body, type) {
    const token = sessionStorage.getItem(TOKEN_KEY);
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    if (body !== undefined) headers["content-type"] = type;
    try {
      return await fetch(path, { method, headers, body });
    } catch {
      throw new ApiError(0, "unreachable", "The server cannot be reached. Is `ovrcoat serve` still running?");
    }
  }
}

/** Keeps the token that `ovrcoat serve --open` puts into the address. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

async function errorOf(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.code, error.message);
  } catch {
    return new ApiError(response.status, "unknown", `The server replied with status ${response.status}.`);
  }
}
