// Opening an image: file field, drop, paste or an example.

import { byId, element } from "./dom.js";

export const EXAMPLES = [
  { name: "chelsea", title: "Cat", file: "chelsea.jpg", classes: "cat; dog; person; sofa; blanket#stuff",
    credit: "Chelsea, by Stefan van der Walt, CC0" },
  { name: "coffee", title: "Coffee", file: "coffee.jpg", classes: "cup; spoon; saucer; table#stuff",
    credit: "A cup of espresso, by Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0" },
  { name: "rocket", title: "Rocket", file: "rocket.jpg", classes: "rocket#thing; tower; sky#stuff; ground#stuff",
    credit: "Falcon 9 before the launch of DSCOVR, SpaceX, public domain" },
];

/** `open(file, example)` is called with a File and, for an example image, its entry. */
export function setUpPicker(open) {
  const input = byId("file");
  const drop = byId("drop");
  input.addEventListener("change", () => {
    if (input.files.length) open(input.files[0], null);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0], null);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) open(file, null);
  });
  byId("examples").replaceChildren(...EXAMPLES.map((example) => {
    const button = element("button", { type: "button", title: example.credit },
      element("img", { src: `examples/${example.file}`, alt: "", loading: "lazy" }), example.title);
    button.addEventListener("click", async () => open(await exampleFile(example), example));
    return button;
  }));
}

export async function exampleFile({ file }) {
  const response = await fetch(`examples/${file}`);
  return new File([await response.blob()], file, { type: "image/jpeg" });
}
