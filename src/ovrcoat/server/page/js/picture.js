// The image on the page and its copy on the server.

/** An image: its file, its pixels for drawing (null if the browser cannot decode it) and its id on the server. */
export class Picture {
  #api;
  #uploaded = null;

  constructor(api, file, { bitmap, example }) {
    this.#api = api;
    this.file = file;
    this.bitmap = bitmap;
    this.example = example; // name of an example image, or null
    this.width = bitmap?.width ?? 0;
    this.height = bitmap?.height ?? 0;
  }

  static async open(api, file, example = null) {
    const bitmap = await createImageBitmap(file).catch(() => null);
    return new Picture(api, file, { bitmap, example });
  }

  /** File name without its ending, for downloads. */
  get stem() {
    return (this.file.name || "image").replace(/\.[^.]*$/, "");
  }

  /** Uploads the image unless that was done. */
  upload() {
    this.#uploaded ??= this.#api.upload(this.file).then(
      (answer) => {
        this.width = answer.width;
        this.height = answer.height;
        return answer.id;
      },
      (error) => {
        this.#uploaded = null;
        throw error;
      },
    );
    return this.#uploaded;
  }

  segment(request) {
    return this.#withId((id) => this.#api.segment(id, request));
  }

  explain(request) {
    return this.#withId((id) => this.#api.explain(id, request));
  }

  /** Runs a call; if the server has removed the image meanwhile, uploads it again. */
  async #withId(call) {
    const uploaded = this.upload();
    try {
      return await call(await uploaded);
    } catch (error) {
      if (error.code !== "image_not_found") throw error;
      if (this.#uploaded === uploaded) this.#uploaded = null;
      return call(await this.upload());
    }
  }
}
