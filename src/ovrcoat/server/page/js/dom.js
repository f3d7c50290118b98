// Building elements. Text is always set as text, never as HTML: names come from users.

/** Returns an element with properties, attributes (`aria-…`, `role`, `for`, `data-…`) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

export function percent(share) {
  return share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`;
}

export function cssColor([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}
