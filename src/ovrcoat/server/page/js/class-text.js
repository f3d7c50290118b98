// Class names as text: "cat, kitty#thing; wall#stuff". Colors follow "@": "cat#thing@ff8800".

/** Returns the classes of a text; empty entries are left out, and names are unique. */
export function parseClasses(text) {
  const classes = [];
  for (const entry of text.split(/[;\n]/)) {
    const match = /^(.*?)(?:#(thing|stuff))?(?:@([0-9a-f]{6}))?$/i.exec(entry.trim());
    const names = match[1].split(",").map(cleanName).filter((name) => name !== "");
    if (!names.length || hasName(classes, names[0])) continue;
    classes.push({
      name: names[0],
      synonyms: names.slice(1),
      isThing: match[2] ? match[2].toLowerCase() === "thing" : null,
      color: match[3] ? `#${match[3].toLowerCase()}` : null,
    });
  }
  return classes;
}

export function formatClasses(classes) {
  return classes
    .map(({ name, synonyms, isThing, color }) => {
      const kind = isThing === null ? "" : isThing ? "#thing" : "#stuff";
      return [name, ...synonyms].join(", ") + kind + (color ? `@${color.slice(1)}` : "");
    })
    .join("; ");
}

export function cleanName(name) {
  return name.replace(/[;,#@\s]+/g, " ").trim();
}

export function hasName(classes, name) {
  const folded = name.toLowerCase();
  return classes.some((one) => one.name.toLowerCase() === folded);
}
