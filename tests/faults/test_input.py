"""Faults of input and of what embeds, reranks and retrieves: which test says what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FAULTS: dict[str, dict[str, str]] = {
    "a vector with NaN or infinity": {
        "faults/test_vectors.py": "a_vector_that_is_not_finite_is_named_by_row_and_id_and_its_batch_is_refused",
        "ai/test_bad_input.py": "a_vector_that_does_not_fit_is_refused",
    },
    "a zero vector": {
        "faults/test_vectors.py": "a_zero_vector_has_no_angle_and_is_named_by_row_and_id "
        "a_zero_vector_has_an_inner_product",
    },
    "another dtype, layout or shape": {
        "faults/test_vectors.py": "any_layout_of_the_same_numbers_is_the_same_vectors "
        "what_are_no_vectors_is_refused_and_never_reinterpreted numbers_of_32_bits_are_kept_to_the_last_bit "
        "a_length_that_overflows_is_told_from_numbers_that_are_not_finite",
    },
    "fewer or more vectors than documents": {
        "faults/test_vectors.py": "another_number_of_vectors_than_documents_is_refused_before_anything_is_written "
        "vectors_that_belong_to_no_document_are_refused",
        "models/test_openai.py": "vectors_come_in_the_order_of_the_texts a_vector_too_few_is_an_error",
    },
    "an empty query, or one without words": {
        "faults/test_queries.py": "a_query_of_nothing_finds_nothing_says_so_and_is_not_embedded "
        "a_query_without_words_to_look_for_finds_nothing_by_words_and_the_nearest_by_vectors",
    },
    "k of nought, below, beyond, of another type": {
        "faults/test_queries.py": "k_is_from_nought_to_its_bound_and_more_than_there_are_is_all_there_are "
        "what_is_no_number_of_documents_is_refused",
    },
    "surrogates, NUL, bidi, emoji, marks, a word of a million characters, NFC and NFD": {
        "faults/test_documents.py": "any_text_comes_back_to_the_last_character ids_are_compared_as_they_are_given "
        "content_and_ids_that_no_store_could_keep_are_refused",
        "faults/test_queries.py": "any_string_is_a_query_in_every_mode "
        "names_that_no_store_could_keep_are_refused_wherever_they_are_given",
        "ingest/test_loaders.py": "other_encodings_are_guessed_and_noted html_is_read_in_the_encoding_that_it_declares",
        "ingest/test_splitter.py": "a_character_is_never_cut_from_its_marks",
    },
    "one id twice": {
        "faults/test_documents.py": "one_id_is_one_document_within_a_call_and_across_calls "
        "writers_of_one_id_at_the_same_time_leave_one_of_theirs",
        "faults/test_vectors.py": "a_document_with_more_or_fewer_vectors_than_before_leaves_none_behind",
    },
    "metadata that is deep, large, no JSON, or has odd keys": {
        "faults/test_documents.py": "any_key_is_a_key_and_can_be_filtered_by "
        "ten_million_characters_of_metadata_come_back "
        "what_is_no_json_is_refused_with_its_path_whether_the_document_has_an_id_or_not "
        "tuples_come_back_as_lists_and_parts_belong_to_the_caller "
        "any_document_comes_back_equal_or_is_refused_by_every_store_in_the_same_words",
    },
    "a corpus, file or line that is huge": {
        "ingest/test_crash.py": "memory_does_not_grow_with_the_corpus",
        "ingest/test_splitter.py": "one_word_of_five_million_characters_is_cut",
        "ingest/test_splitters.py": "a_line_of_five_million_tokens_is_cut_by_any_tokenizer",
    },
    "sizes that no splitter can keep, and every kind of text": {
        "ingest/test_splitter.py": "impossible_sizes_are_refused_by_name windows_line_ends_make_the_same_chunks "
        "chunks_of_characters_are_exact_complete_and_small_enough a_fence_and_a_table_stay_whole_when_they_fit "
        "a_text_without_content_has_no_chunks",
        "ingest/test_splitters.py": "chunks_are_exact_complete_small_enough_and_the_same_again",
    },
    "a filter with an unknown operator, field or another type": {
        "faults/test_queries.py": "a_filter_that_cannot_be_meant_is_refused_with_what_there_is "
        "an_unknown_field_matches_nothing_and_types_never_mix",
        "documents/test_filters.py": "any_filter_parses_and_agrees_with_the_naive_reading",
    },
    "deleting what is not there, again, or while it is read": {
        "faults/test_queries.py": "a_document_that_is_not_there_is_no_error_and_one_that_comes_again_is_found "
        "what_is_iterated_may_be_deleted searches_during_deletions_give_whole_documents",
    },
    "429 with any Retry-After": {
        "embedders/test_wrapped_limits.py": "a_429_of_a_real_server_is_waited_for "
        "a_pause_beyond_the_budget_is_not_begun the_pause_is_what_the_other_side_says_and_a_little",
        "rerankers/test_http_rerank.py": "retry_after_may_be_a_date a_retry_after_that_says_nothing_is_none "
        "the_pause_is_what_the_server_asks_for_and_never_longer_than_allowed",
    },
    "5xx, a connection that is refused or breaks, a host without an address": {
        "embedders/test_wrapped_limits.py": "only_what_may_pass_is_tried_again retries_end_with_the_last_error",
        "rerankers/test_http_rerank.py": "what_may_pass_is_tried_again_and_then_said "
        "a_server_that_is_not_there_is_named "
        "a_connection_that_breaks_is_tried_again",
        "models/test_openai.py": "a_host_without_an_address_is_unavailable",
    },
    "4xx: a wrong key, model or request": {
        "rerankers/test_http_rerank.py": "what_is_wrong_with_the_request_is_said_at_once "
        "a_wrong_key_is_refused_and_not_shown",
        "embedders/test_wrapped_limits.py": "a_defect_is_not_tried_again",
    },
    "a server that is slow or silent": {
        "rerankers/test_http_rerank.py": "a_server_that_sends_nothing_is_given_up",
        "indexers/test_chroma_server.py": "a_server_that_never_answers_is_given_up",
    },
    "a call that is cancelled at any await": {
        "faults/test_cancellation.py": "indexing_leaves_whole_batches deleting_is_done_or_not_done "
        "a_document_with_several_vectors_is_replaced_as_a_whole retrieving_disturbs_nobody "
        "one_who_is_cancelled_takes_none_with_it",
        "indexers/test_pgvector_server.py": "cancelled_calls_leave_no_connection_out_and_no_half_batch",
    },
    "an ingestion that is killed": {"ingest/test_crash.py": "a_killed_run_goes_on_where_it_was"},
    "other vectors for the same text": {
        "embedders/test_wrapped_cache.py": "a_text_is_embedded_once_ever "
        "two_processes_on_one_file_agree_on_every_vector",
        "rag/test_embedding_service.py": "the_same_text_is_embedded_once",
    },
    "ten thousand searches at once, and writers in line": {
        "faults/test_concurrency.py": "ten_thousand_searches_at_once_are_answered_and_leave_nothing "
        "writers_wait_in_line_while_searches_are_answered",
    },
    "an embedder, reranker or leg that raises": {
        "faults/test_failing_parts.py": "an_embedders_error_reaches_the_caller_and_nothing_is_written "
        "a_failing_query_fails_those_who_shared_its_call_and_is_not_remembered "
        "a_leg_that_fails_is_raised_or_left_out_with_a_notice "
        "a_rerankers_error_reaches_the_caller_and_leaves_the_documents_as_they_were",
        "retrievers/test_hybrid.py": "when_every_leg_fails_it_is_unavailable_but_a_wrong_request_stays_one",
    },
    "a server with a store that restarts, is away or busy": {
        "indexers/test_chroma_server.py": "a_server_that_is_away_is_unavailable_and_is_used_again_when_it_is_back "
        "another_application_that_stands_there_is_no_chroma",
        "indexers/test_pgvector_server.py": "a_server_that_restarts_is_found_again "
        "a_busy_pool_and_a_slow_statement_are_said",
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_tests(fault: str) -> None:
    for file, names in FAULTS[fault].items():
        there = set(re.findall(r"^(?:async )?def test_(\w+)", (TESTS / file).read_text("utf-8"), re.MULTILINE))
        assert set(names.split()) <= there, file
