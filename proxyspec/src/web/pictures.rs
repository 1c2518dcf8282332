//! The pictures of the page: made from a seed, so that none has to be shipped.

use std::io;

use testkit::payload::Payload;
use testkit::seed::Seed;

/// One picture, encoded as PNG.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it shows, in one word that is good for a file name.
    pub name: &'static str,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The file.
    pub png: Vec<u8>,
}

/// How bright the point (x, y) of a square picture with this side is: 0 to 255 from one colour to the other.
type Shade = fn(x: i64, y: i64, side: i64) -> i64;

/// Name, side in pixels, bits of noise in each channel, shade. The noise does not compress, which makes the size of
/// the file: from a kilobyte, one segment, to a megabyte, more than the proxy and the kernels hold. Integer
/// arithmetic alone, so that every machine makes the same bytes.
const GALLERY: [(&str, u32, u32, Shade); 10] = [
    ("sierpinski", 64, 0, |x, y, _| if x & y == 0 { 255 } else { 0 }),
    ("gradient", 96, 0, |x, _, side| x * 255 / side),
    ("stripes", 128, 1, |x, y, side| if (x + y) * 10 / side % 2 == 0 { 230 } else { 30 }),
    ("checkers", 144, 2, |x, y, side| if (x * 8 / side + y * 8 / side) % 2 == 0 { 255 } else { 40 }),
    ("rings", 192, 3, |x, y, side| {
        let (x, y) = (2 * x - side, 2 * y - side);
        (x * x + y * y) * 1500 / (side * side) % 256
    }),
    ("woven", 256, 3, |x, y, _| x ^ y),
    ("diamonds", 320, 4, |x, y, side| {
        let tile = side / 4;
        ((x % tile - tile / 2).abs() + (y % tile - tile / 2).abs()) * 255 / tile
    }),
    ("bricks", 400, 4, |x, y, side| {
        let (width, height) = (side / 5, side / 10);
        let x = x + y / height % 2 * width / 2;
        if x % width < 6 || y % height < 6 { 240 } else { 60 + (x / width * 53 + y / height * 31) % 90 }
    }),
    ("mandelbrot", 480, 5, mandelbrot),
    ("static", 600, 8, |_, _, _| 0),
];

/// Draws all pictures of this seed, each in its own two colours.
///
/// # Errors
///
/// What the PNG encoder says; it writes into memory, so none is expected.
pub fn gallery(seed: Seed) -> io::Result<Vec<Picture>> {
    GALLERY
        .iter()
        .map(|&(name, side, noise, shade)| draw(seed.derive(name), name, side, noise, shade))
        .collect()
}

fn draw(seed: Seed, name: &'static str, side: u32, noise: u32, shade: Shade) -> io::Result<Picture> {
    let colours = seed.derive("colours").number().to_le_bytes();
    // The first colour is dark and the second light, or the pattern might be invisible.
    let dark: [i64; 3] = std::array::from_fn(|channel| i64::from(colours[channel]) / 2);
    let light: [i64; 3] = std::array::from_fn(|channel| 255 - i64::from(colours[3 + channel]) / 3);

    let pixels = side as usize * side as usize;
    let grain = Payload::new(seed).bytes(0, pixels * 3);
    let mut image = Vec::with_capacity(pixels * 3);
    let side_pixels = i64::from(side);
    for (pixel, grain) in (0_i64..).zip(grain.chunks_exact(3)) {
        let bright = shade(pixel % side_pixels, pixel / side_pixels, side_pixels).clamp(0, 255);
        for channel in 0..3 {
            let colour = dark[channel] + (light[channel] - dark[channel]) * bright / 255;
            image.push(colour as u8 ^ (u32::from(grain[channel]) & ((1 << noise) - 1)) as u8);
        }
    }
    Ok(Picture { name, width: side, height: side, png: encode(side, &image).map_err(io::Error::other)? })
}

fn encode(side: u32, image: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image)?;
    writer.finish()?;
    Ok(png)
}

/// The famous set in fixed-point numbers with 20 bits behind the point.
fn mandelbrot(x: i64, y: i64, side: i64) -> i64 {
    const ONE: i64 = 1 << 20;
    let (real, imaginary) = (x * 3 * ONE / side - 9 * ONE / 4, y * 3 * ONE / side - 3 * ONE / 2);
    let (mut a, mut b) = (0, 0);
    for step in 0..64 {
        let (square_a, square_b) = (a * a / ONE, b * b / ONE);
        if square_a + square_b > 4 * ONE {
            return step * 6 % 256;
        }
        (a, b) = (square_a - square_b + real, 2 * a * b / ONE + imaginary);
    }
    255
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::io::Cursor;
    use std::sync::LazyLock;

    use super::*;

    /// Drawn once for all tests, because it takes a second without optimisation.
    pub(crate) static FIRST: LazyLock<Vec<Picture>> = LazyLock::new(|| gallery(Seed::new(1)).unwrap());

    #[test]
    fn from_a_kilobyte_to_a_megabyte() {
        let mut sizes: Vec<usize> = FIRST.iter().map(|picture| picture.png.len()).collect();
        sizes.sort_unstable();
        assert!(sizes.len() >= 8);
        assert!((500..3_000).contains(&sizes[0]), "{sizes:?}");
        assert!((900_000..1_200_000).contains(sizes.last().unwrap()), "{sizes:?}");
    }

    #[test]
    fn a_seed_makes_the_same_pictures_and_another_seed_others() {
        let small = |seed: Seed| {
            let drawn = GALLERY[..5].iter().map(move |&(name, side, noise, shade)| {
                draw(seed.derive(name), name, side, noise, shade).unwrap().png
            });
            drawn.collect::<Vec<_>>()
        };
        let (first, again, other) = (small(Seed::new(1)), small(Seed::new(1)), small(Seed::new(2)));
        assert_eq!(first, again);
        assert_eq!(first.iter().chain(&other).collect::<HashSet<_>>().len(), 10, "all differ");
    }

    #[test]
    fn each_is_a_whole_png_of_its_size() {
        for picture in FIRST.iter() {
            let mut reader = png::Decoder::new(Cursor::new(&picture.png)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            reader.finish().unwrap();
            assert_eq!((info.width, info.height), (picture.width, picture.height), "{}", picture.name);
        }
    }

    #[test]
    fn every_pattern_is_visible() {
        for (name, side, noise, shade) in GALLERY {
            let side = i64::from(side);
            let mut shades = (0..side * side).map(|at| shade(at % side, at / side, side));
            let first = shades.next();
            assert!(noise == 8 || shades.any(|shade| Some(shade) != first), "{name} is one plain colour");
        }
    }
}
