// Classify a picture by model.onnx; model.json is the metadata of that file.
// Both come from make_model.py. The picture stays in the browser.

ort.env.wasm.numThreads = 1; // more would need headers that a plain server does not send

const model = Promise.all([
  ort.InferenceSession.create("model.onnx"),
  fetch("model.json").then((answer) => answer.json()),
]);

/** Draw a picture in the size of the model's images, and return its pixels, channels last. */
function pixelsOf(picture, [height, width, channels]) {
  const canvas = document.getElementById("seen");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high"; // averages, as ImageReader does
  context.drawImage(picture, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const [red, green, blue] = rgba.subarray(4 * i, 4 * i + 3);
    if (channels === 1) pixels[i] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    else pixels.set([red, green, blue], channels * i);
  }
  return pixels;
}

/** Show the classes of a picture, the most probable first. */
async function classify(picture) {
  const [session, described] = await model;
  const shape = described.image_shape;
  const pixels = new ort.Tensor("uint8", pixelsOf(picture, shape), [1, ...shape]);
  const { probabilities } = await session.run({ pixels });
  const ranked = described.classes
    .map((name, i) => [name, probabilities.data[i]])
    .sort((one, other) => other[1] - one[1]);
  const rows = ranked.slice(0, 5).map(([name, share], rank) => {
    const row = document.createElement("tr");
    row.className = rank ? "" : "best";
    row.insertCell().textContent = name;
    row.insertCell().textContent = `${(100 * share).toFixed(0)} %`;
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = `${12 * share}rem`;
    row.insertCell().append(bar);
    return row;
  });
  document.getElementById("result").replaceChildren(...rows);
}

async function show(source) {
  const picture = new Image();
  picture.src = source;
  try {
    await picture.decode();
    await classify(picture);
    document.getElementById("error").textContent = "";
  } catch (error) {
    document.getElementById("error").textContent = `This picture cannot be classified: ${error}`;
  }
}

document.getElementById("file").addEventListener("change", (event) => {
  if (event.target.files.length) show(URL.createObjectURL(event.target.files[0]));
});

const asked = new URLSearchParams(location.search).get("image"); // ?image=digit.png
if (asked) show(asked);
