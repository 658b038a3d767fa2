<?php
/**
 * Plugin Name: Reader payments
 * Description: Prints the widget of a reader-payments service: [reader_payments campaign="spring"]
 * Version: 1.0.0
 * Requires PHP: 7.4
 *
 * Put this file into wp-content/plugins, activate it, and define the service in wp-config.php:
 *
 *     define( 'READER_PAYMENTS_URL', 'https://support.example.org' );
 *
 * A shortcode passes what editors and roles without unfiltered_html would lose: the script, the
 * element and the form. It stores nothing and asks nobody; texts and amounts come from the
 * campaign's own script, so a change there needs no change here.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

/** Returns a slug of the service: lower-case letters, digits and hyphens, at most 64; or nothing. */
function reader_payments_slug( $text ) {
	$text = strtolower( (string) $text );
	return preg_match( '/\A[a-z0-9][a-z0-9-]{0,63}\z/', $text ) ? $text : '';
}

/** Returns the HTML of the shortcode. */
function reader_payments_shortcode( $given ) {
	$base = defined( 'READER_PAYMENTS_URL' ) ? untrailingslashit( READER_PAYMENTS_URL ) : '';
	if ( ! preg_match( '#\Ahttps?://#', $base ) ) {
		return '';
	}
	$with     = shortcode_atts(
		array(
			'campaign' => '',
			'lang'     => substr( get_locale(), 0, 2 ), // en_US is en
			'article'  => get_post_field( 'post_name' ),
			'label'    => 'Support us',
		),
		$given,
		'reader_payments'
	);
	$campaign = reader_payments_slug( $with['campaign'] );
	$article  = reader_payments_slug( $with['article'] );
	$lang     = reader_payments_slug( $with['lang'] );
	$lang     = '' === $lang ? 'en' : $lang;
	$script   = $base . '/embed/' . ( '' === $campaign ? '' : $campaign . '.' ) . $lang . '.js';
	$names    = array_filter( compact( 'lang', 'campaign', 'article' ) );

	$attributes = '';
	$fields     = '';
	foreach ( $names as $name => $value ) {
		$attributes .= sprintf( ' %s="%s"', $name, esc_attr( $value ) );
		$fields     .= sprintf( '<input type="hidden" name="%s" value="%s">', $name, esc_attr( $value ) );
	}
	// On one line: what runs over posts makes paragraphs of line ends.
	return '<div><script type="module" src="' . esc_url( $script ) . '" crossorigin="anonymous"></script>'
		. '<donate-form' . $attributes . '><form action="' . esc_url( $base . '/donate' ) . '">' . $fields
		. '<button>' . esc_html( $with['label'] ) . '</button></form></donate-form></div>';
}

add_shortcode( 'reader_payments', 'reader_payments_shortcode' );
