//! The page: all pictures, and a script that says whether every one of them came whole.

use super::pictures::Picture;

/// The HTML of the page that shows `pictures`, each fetched from `/image/NAME.png`.
///
/// When everything has loaded, the script counts the pictures that arrived whole and writes the count into the
/// title, into a green or red banner, and into `<p id="result" data-state="complete" data-loaded="N" data-of="N">`
/// for a test that reads the document. A browser shows half a PNG without complaint, so a picture counts only if its
/// width is right and its body had as many bytes as the file.
pub(super) fn html(pictures: &[Picture]) -> String {
    let figure = |Picture { name, width, height, png }: &Picture| {
        let bytes = png.len();
        format!(
            "<figure><img src=\"/image/{name}.png\" alt=\"{name}\" data-width=\"{width}\" data-bytes=\"{bytes}\">\
             <figcaption>{name}, {width}&times;{height}, {bytes} bytes</figcaption></figure>\n"
        )
    };
    let figures: String = pictures.iter().map(figure).collect();
    TEMPLATE.replace("{of}", &pictures.len().to_string()).replace("{figures}", &figures)
}

/// The icon is given in the page itself: a browser would ask for it on a connection of its own, or not.
const TEMPLATE: &str = include_str!("page.html");

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
