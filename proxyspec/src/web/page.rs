//! The page: all pictures, and a script that says whether every one of them came whole.

use std::fmt::Write as _;

use super::pictures::Picture;

/// The HTML of the page that shows `pictures`, each fetched from `/image/NAME.png`.
///
/// When everything has loaded, the script counts the pictures that arrived whole and writes the count into the
/// title, into a green or red banner, and into `<p id="result" data-state="complete" data-loaded="N" data-of="N">`
/// for a test that reads the document. A browser shows half a PNG without complaint, so a picture counts only if its
/// width is right and its body had as many bytes as the file.
pub(super) fn html(pictures: &[Picture]) -> String {
    let mut figures = String::new();
    for Picture { name, width, height, png } in pictures {
        let bytes = png.len();
        writeln!(
            figures,
            "<figure><img src=\"/image/{name}.png\" alt=\"{name}\" data-width=\"{width}\" data-bytes=\"{bytes}\">\
             <figcaption>{name}, {width}&times;{height}, {bytes} bytes</figcaption></figure>"
        )
        .expect("writing into a String cannot fail");
    }
    TEMPLATE.replace("{of}", &pictures.len().to_string()).replace("{figures}", &figures)
}

/// The icon is given in the page itself: a browser would ask for it on a connection of its own, or not.
const TEMPLATE: &str = r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>loading</title>
<link rel="icon" href="data:,">
<style>
body { font: 16px/1.4 sans-serif; margin: 0; background: #f4f4f4; color: #222 }
#result { margin: 0; padding: .7em 1em; color: white; background: #a60; font-weight: bold }
#result[data-state=complete] { background: #183 }
#result[data-state=broken] { background: #b12 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1em; padding: 1em }
figure { margin: 0; background: white; padding: .5em; border: 1px solid #ccc }
img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; background: #ddd }
figcaption { font-size: 12px }
</style>
</head>
<body>
<p id="result" data-state="loading" data-loaded="0" data-of="{of}">loading {of} pictures</p>
<main>
{figures}</main>
<script>
addEventListener("load", () => {
  const received = new Map(performance.getEntriesByType("resource").map(e => [e.name, e.encodedBodySize]));
  const whole = img => img.complete && img.naturalWidth === Number(img.dataset.width) &&
    received.get(img.src) === Number(img.dataset.bytes);
  const images = [...document.images];
  const missing = images.filter(img => !whole(img)).map(img => img.alt);
  const result = document.getElementById("result");
  const loaded = images.length - missing.length;
  result.dataset.loaded = loaded;
  result.dataset.state = loaded === Number(result.dataset.of) ? "complete" : "broken";
  document.title = loaded + " of " + result.dataset.of + " pictures";
  result.textContent = document.title + (missing.length ? ", not whole: " + missing.join(", ") : ", each of them whole");
});
</script>
</body>
</html>
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_on_the_page() {
        let picture = |name, width| Picture { name, width, height: 2, png: vec![0; 7] };
        let html = html(&[picture("one", 3), picture("two", 4)]);
        assert!(html.contains(r#"<img src="/image/one.png" alt="one" data-width="3" data-bytes="7">"#));
        assert!(html.contains(r#"<img src="/image/two.png" alt="two" data-width="4" data-bytes="7">"#));
        assert!(html.contains(r#"data-state="loading" data-loaded="0" data-of="2""#));
        assert!(html.contains(r#"<link rel="icon""#), "a browser would ask for another file");
        assert!(!html.contains("{of}") && !html.contains("{figures}"));
    }
}
